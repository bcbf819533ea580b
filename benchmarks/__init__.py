"""What a durable turn costs, as ratios to the bare SDK inside one run.

Run it with `python -m benchmarks`. Absolute numbers belong to one machine on one day;
the ratios are what the project promises. No test and no gate reads any of them.
"""
