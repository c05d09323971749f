"""What a reader sees. Nothing here can change a number."""

from .display import say, show
from .forests import against_budget, forest
from .measures import plot_learning_curves, plot_reliability, plot_robustness
from .plots import (
    mark_level,
    plot_arms,
    plot_confusion,
    plot_curves,
    plot_differences,
    plot_effects,
    plot_projections,
    show_images,
)
from .tables import table
from .widgets import explore
