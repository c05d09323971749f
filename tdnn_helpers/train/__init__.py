"""One training loop for every kind of objective."""

from .checkpoint import read_history
from .distributed import PartnerLost
from .faults import Diverged
from .loop import constant, evaluate, fit, one_cycle, predict, sgd
from .objectives import Batch, Objective, classification, regression
from .run import History
