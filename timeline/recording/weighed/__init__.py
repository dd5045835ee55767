"""What was read in a weighed step, and the document that is made of it: not in the program's time.

The process that is weighed writes ``weighed.json``: numbers as it read them, in lists. Which of
its moments were the peaks, what was held there and what for is summed from that afterwards, by the
sampler's side or by whoever reads the recording (`document`), in the form of ``breakdown.json``.
docs/format.md has the keys of both.
"""
