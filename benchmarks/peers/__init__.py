"""How agents on other libraries come out of the faults that every agent meets."""
