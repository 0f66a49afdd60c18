"""The benchmark harness, in the order in which a run uses it.

- `cli`: what was asked for.
- `install`: the peers and the tools, brought to this machine.
- `peers`: what each folder in `peers/` says, and how one is started; `process`, `places`: processes, ports and folders.
- `origin`: the server behind all of them, which counts what it is asked.
- `cases`: what is measured. `check`: whether a peer really does that.
- `load`: wrk, h2load and our own load generator: how they are called and what their output means.
- `measure`: one measurement. `rounds`: all of them, interleaved. `memory`, `sites`: what is not a rate.
- `stats`, `machine`, `procfs`: medians and noise, the machine, the kernel's accounting.
- `report`: table, plot and JSON.
"""
