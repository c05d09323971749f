"""From arms and seeds to a verdict: runs side by side, effects with intervals, the ledger."""

from .budgets import at_budget, each_budget, over_budgets
from .claims import exact, judge, ledger, reading, report
from .comparison import ArmsFailed, compare
from .effects import Effect, difference, from_runs, last_values, mean_interval, rate_difference, share_interval
from .several import detectable, holm, sign_flip
from .tuning import at_rates, best_rates, ends, sweep, tune
from .two_way import crossed, over_images, resplit
