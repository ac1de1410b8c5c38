"""The whole fleet, role by role: `pyinfra inventories/prod.py deploy.py`.

Each role runs on all its hosts before the next begins. Engines start before gateway and monitoring are set up and
are waited for at the end, for loading a model takes minutes.
"""

from pyinfra import host

from vllm_fleet.operations import all_hosts_here
from vllm_fleet.planner import on_host
from vllm_fleet.roles import base, engine, firewall, gateway, model_store, monitoring, nvidia, runtime
from vllm_fleet.schema.host import GATEWAY, GPU

fleet = host.data.fleet
placements = host.data.placements
here = fleet.host(host.name)
engines = on_host(placements, host.name)

base.apply()
firewall.apply(fleet, placements)
nvidia.apply(fleet, placements)

if engines:
    runtime.apply(fleet, here, engines)
    model_store.apply(fleet, placements)
if GPU in here.groups:
    engine.apply(fleet, placements)

if GATEWAY in here.groups:
    gateway.apply(fleet, placements)

monitoring.apply(fleet, placements)

if placements:
    all_hosts_here(name="Everything is in place")
if GPU in here.groups:
    engine.ready(placements)
