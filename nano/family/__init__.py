"""The nano family as a family: a small vision language model with branches, and low-rank members of its text half."""
