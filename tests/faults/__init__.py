"""Kill test: real servers, raw clients, a nemesis, and a checker that shares no code with what it checks.

python -m tests.faults --database sqlite --clients 20 --kills 20 --seed 1
"""
