"""Task-oriented feature compression: a device sends few merged, quantised features of an image instead of the image.

=============  ===============================================================================================
the features   ``merging`` (density peaks), ``codec`` (merging, basis, levels), ``entropy`` (models, router),
               ``laplace`` (what a value costs)
the bytes      ``stream`` (a codec at both ends), ``stream_symbols`` (the format), ``stream_range`` (the range
               coder), ``message`` (a stream on a link)
the parties    ``encoder`` (device), ``decoder`` (server), ``adapters/`` (kinds of models), ``sequence``
               (prompts whose images are shorter), ``control`` (which setting, from channel and deadline)
the training   ``model`` (a model with its codec), ``batches`` (dialogues on images of any sizes), ``training``,
               ``files`` (saved and loaded), ``beside`` (loaded without changing the model)
=============  ===============================================================================================

Source: AI Flow, section II-B1.
"""
