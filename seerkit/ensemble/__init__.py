"""Action ensemblers: from chunks predicted at successive steps to the action executed now.

All share one shape of call, so that a recipe can exchange them: ``forward(chunk, is_init, *carry) -> (action, *carry)``
and ``initial(batch, chunk=, action_dim=) -> carry``. One that carries out a chunk without looking says so with
``holds(is_init, *carry)`` and goes on with ``proceed(*carry)``; nothing is drawn or predicted meanwhile.
"""

from seerkit.ensemble.first import FirstAction
from seerkit.ensemble.receding import RecedingHorizon
from seerkit.ensemble.temporal import TemporalEnsemble

__all__ = ["FirstAction", "RecedingHorizon", "TemporalEnsemble"]
