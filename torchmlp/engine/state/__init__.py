"""What a step reads and writes, and whether it is still what it was.

structure      what can be stepped: the model's layers, its loss and its optimizer
changes        what is asked of them before every step
addresses      where tensors lie in memory, and whether they still do
sgd_update     an optimizer's settings as coefficients of the update
workspace      the buffers of one batch size
"""
