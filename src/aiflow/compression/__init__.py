"""What ``aiflow tofc ...`` does. Results go to stdout, progress to stderr. Knows no flags.

``making``     train          ``parties``  encode, answer
``models``     folders and ids of vision language models          ``samples``  files of dialogues on images
``dialogues``  dialogues and questions as tokens                  ``report``   what a codec costs and gives, its card
"""

from aiflow.compression.making import train
from aiflow.compression.parties import answer, encode

__all__ = ["answer", "encode", "train"]
