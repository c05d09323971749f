"""Networks, from shared blocks or pretrained, and what they cost."""

from .activations import Swish
from .backbone import Backbone, pretrained, stage_maps
from .costs import count_macs, step_seconds
from .networks import ACTIVATIONS, CONVOLUTIONS, NORMS, POOLS, Normalise, count_parameters, mlp, normalise, small_cnn
from .transformer import SelfAttention, attention, attention_maps, vision_transformer
