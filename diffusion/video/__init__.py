"""Networked collaboration: one video diffusion model of several modalities, a node for each (section IV-B3, figure 13).

``data``         TinyPrimitives: clips with exact depth, segments and edges; ``data_folder``: clips of one's own
``autoencoder``  clips <-> latents, shared by the modalities
``model``        the transformer: a CogVideoX widened to several modalities, each generated, given (condition) or idle
``sampling``     one denoising step, guidance, noise by counters: what the pipeline and the parties have in common
``pipeline``     all of it in one process, as a diffusers pipeline
``wire``         what the nodes send each other; ``party``: a modality's node; ``backbone``: the blocks' node
``metrics``      FVD, KVD, fidelity to a condition, caption accuracy; ``judges``: the small networks behind them
``train``        the stages; ``train_omni``: the diffusion models, also the baselines'; ``train_judges``
``picture``      the modalities side by side as a GIF
"""
