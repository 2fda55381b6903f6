"""The thresholds of the rules, each with its source.

"Measured" means on digits and on the runs of `benchmarks/diagnosis`: the number stands between the
sick runs' values and the healthy ones'. Where a threshold names no source it was set there too; how
often the rules are right with all of them is in `benchmarks/results/diagnosis.csv`.
"""

# Data
LABEL_ENTROPY = 0.5  # of ln K; balanced classes have 1, three to one of two has .81
INPUT_LARGE = 3.0  # rms; LeCun et al. (1998), Efficient BackProp, 4.3, ask for variance 1
INPUT_SMALL = 0.03  # rms; pixels 0..1 have .33, divided by 255 once more .0013
INPUT_SCALES = 100.0  # largest over smallest std of a feature
TARGET_LARGE = 50.0  # absolute value, against outputs that start near 1
RANGE_SLACK = 0.15  # of an output's range, that noise may carry targets out of it
PROBE_HELD_OUT = 50  # samples a probe has to be scored on before it counts
PROBE_SIGMAS = 3.0  # of the binomial around chance
PROBE_R2 = 0.03
SORTED = 0.5  # share of the batches that hold one class only

# Gradients, by central differences in float64
GRADIENT_ERROR = 1e-5  # right ones: at most 4e-9 (measured)

# Start
NOT_CENTRED = 0.5  # |mean| / std of a weight; U(0, 1) has 1.73
GAIN_LARGE = 3.0  # rms · √fan-in; He et al. (2015) 1.41, Glorot & Bengio (2010) about 1
GAIN_SMALL = 0.3  # torch's own: .58
SAME_UNITS = 1e-6  # spread over the units; drawn weights: above .9
SATURATED = 0.5  # share of the units past a hundredth of the largest slope; healthy: 0 (measured)
DEAD = 0.9  # share of ReLU units that are 0 for a whole batch; healthy: up to .15 (measured)
EXPLODING = 10.0  # δ of the first layer over the last's; healthy: at most 1..3 (measured)
LOSS_LARGE = 5.0  # first loss over ln K; healthy: at most 3.6 / 2.3 (measured)
VANISHING = 1e-3  # δ of the first layer over the last's; healthy: at least .03 (measured)
NO_SPREAD = 1e-4  # variance of the last hidden layer between samples; healthy: at least .01
UNDERFLOW = 0.3  # share of 16-bit deltas that are 0 or subnormal

# Dynamics
RISES = 0.25  # share of the first steps after which the same batch's loss is higher; healthy: .15
SPIKE = 3.0  # largest loss over the first's; healthy: 1.8 (measured)
LATE_RISE = 1.5  # of its least, that a smoothed loss has risen again ...
LATE_HIGH = 0.5  # ... and of its start
SLOW = 0.6  # of what a longer run, or a larger rate, learns: above it a run is not called slow
CONFIRMED = 0.3  # of the way from the untouched run's score to the best trial's
HELPED = 0.08  # least gain in score that is a gain
WELL = 0.8  # of what a probe reaches, above chance
EXCELLENT = 0.9  # a score that needs no probe beside it
