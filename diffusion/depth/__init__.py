"""Parallel collaboration: metric depth from near and far decoders that share an encoder (paper section IV-B2).

representation  scaled near depth, tapered far depth, masks, their inverses, fusion, anchor pool
scenes          procedural rooms and roads with exact depth
data            batches for training; NYU-V2 and KITTI folders
model           encoder, near and far decoders
backbone        any transformers vision backbone as the encoder
pipeline        image -> near, far, mask, depth, confidence
baselines       single decoders of the same size
train           losses and recipes of the models and the baselines
metrics         depth metrics, crops of NYU-V2 and KITTI
party           encoder, near, far and fusion as parties that exchange messages
picture         results as a PNG
"""
