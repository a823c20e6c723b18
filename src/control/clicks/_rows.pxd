"""The clicks of a batch one by one: for the table of raw clicks and for the live tail. Cimports other leaves."""

from libc.stdint cimport uint8_t

from control.clicks._clicks cimport Clicks

# See the stub of _fold: Batch.rows and Batch.samples.
cdef bytes copy_rows(Clicks clicks)
cdef list newest(Clicks clicks, size_t limit)
