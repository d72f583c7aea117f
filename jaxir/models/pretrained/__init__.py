"""Published weights, in and out, without torch.

load, read  folder or hub name -> encoder, parameters, tokenizer       families/  one file per architecture
export      the way back: a sentence-transformers folder, or our own   names      parameter <-> tensor
modules     what a sentence-transformers folder says                   weights    safetensors, streamed
hub         names -> folders                                           *sparse*   SparseEncoder folders
"""

from jaxir.models.pretrained.assembling import Pretrained
from jaxir.models.pretrained.exporting import export
from jaxir.models.pretrained.reading import load, read

__all__ = ["Pretrained", "export", "load", "read"]
