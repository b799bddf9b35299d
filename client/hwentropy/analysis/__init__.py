"""What bytes look like: simple statistics, each with what is expected and how unusual it is.

    from hwentropy.analysis import Tally, examine

    tally = Tally()
    tally.update(data)                  # any number of times
    for measurement in examine(tally).measurements:
        print(measurement.name, measurement.value, measurement.expected, measurement.p)

distributions   how likely a value is in uniform bytes (pure)
tally           the counts, gathered piece by piece in bounded memory
measurements        the statistics of the counts
plot            pictures of them (needs the extra `plot`)

Passing proves little: the output of any cipher passes, whoever knows its key.
Failing proves much.  For the entropy of a noise source see SP 800-90B.
"""

from .measurements import CAUTION, Examination, Judgement, Measurement, examine
from .tally import Tally

__all__ = ["CAUTION", "Examination", "Judgement", "Measurement", "Tally", "examine"]
