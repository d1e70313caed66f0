"""Look at one moment of a policy: what it saw, foresaw and attended to, and what came.

`moment` takes it from data or plays up to it, `look` asks the policy, `picture` draws.
"""
