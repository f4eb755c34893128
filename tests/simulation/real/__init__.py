"""A simulation with real connections and real locks: a seed decides who goes on at each statement."""
