"""Serial collaboration: two-person motion from text (AI Flow section IV-B1).

``skeleton``  the SMPL-22 joints, rotations, forward kinematics
``features``  262 numbers per person and frame (the InterHuman form), canonical frame, mirror, swap
``body``      what a person does (root, hands, feet) becomes joints and rotations
``actions``   what actions are made of; ``solo`` alone, ``together`` by two
``scene``     segments in any order become joints, contacts and a caption; ``interleave`` makes them of recordings
``data``      the procedural data set: clips from (seed, split, index), pairs as recorded, interleaved sequences
``interhuman`` the InterHuman folder, for real data
``model``     the composer INS, the coordinator REC, the one-stage joint generator
``pipeline``  INS -> REC, as one diffusers pipeline
``party``     the same two as parties that send messages
``sampling``  the denoising steps that pipeline, parties and training share
``metrics``   what is measured; ``evaluator`` the text-motion embedding it needs
``train``     the stages; ``learning`` and ``coordinating`` their steps, ``losses`` what they minimise, ``shipping``
``picture``   a GIF of the two
"""
