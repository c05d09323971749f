"""What one lesson is about: attacks, curricula, losses that compare images, fine-tuning, several views."""

from . import attacks
from .attacks import attack_success_rate, dot, pgd, poison, ramp, robust_accuracy, stamp
from .contrastive import MINING, contrastive_loss, nt_xent, spread, supervised_contrastive, triplet_loss
from .curriculum import easy_first, paced, svm_margin, teacher_loss
from .self_supervised import (
    JointEmbedding,
    attraction,
    barlow_loss,
    barlow_twins,
    byol,
    collapse,
    distance,
    info_nce,
    moco,
    pair,
    rotated,
    rotation,
    simclr,
    simsiam,
    sinkhorn,
    swav,
    two_views,
)
from .transfer import FixedNorms, on_stored, upper_part
from .tta import RULES, as_it_is, combine, every, mirror, move, one_of, predict_views
