"""What the plain hosts of `make bench` run: everything but engines."""

from lab.state import read_nodes as _read_nodes

if _read_nodes():  # this file is read for every inventory, and says nothing while those hosts are down
    from inventories import nodes as _inventory
    from vllm_fleet.planner import place as _place
    from vllm_fleet.schema import Fleet, Gateway, Monitoring, Secret, hosts_of

    fleet = Fleet(
        hosts=hosts_of(_inventory),
        services=[],
        gateway=Gateway(api_keys=[Secret(command="echo bench-key")]),
        monitoring=Monitoring(),
    )

    placements = _place(fleet)
