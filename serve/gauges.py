"""What Prometheus is told of agents and links beside what requests cost: read from the agents when it asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aiflow.serve.status import Census


class Gauges(Collector):
    """Labels are names of agents, nodes, links and kinds of errors."""

    def __init__(self, census: Census) -> None:
        self._census = census

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        agents = dict(self._census.cluster.agents)
        running = GaugeMetricFamily("aiflow_agent_running", "Requests that an agent has now.", labels=["agent", "node"])
        asked = CounterMetricFamily("aiflow_agent_requests", "Requests to agents.", labels=["agent", "node"])
        errors = CounterMetricFamily("aiflow_agent_errors", "Requests that failed.", labels=["agent", "node", "error"])
        for name, agent in agents.items():
            running.add_metric([name, agent.node], agent.tally.in_flight)
            asked.add_metric([name, agent.node], agent.tally.asked)
            for error, count in agent.tally.failed.items():
                errors.add_metric([name, agent.node, error], count)
        yield from (running, asked, errors)
        yield from self._links()

    def _links(self) -> Iterator[Metric]:
        labels = ["link", "direction"]
        rates = GaugeMetricFamily("aiflow_link_rate_bytes_per_second", "Rate, as measured.", labels=labels)
        delays = GaugeMetricFamily("aiflow_link_delay_seconds", "One way, as measured.", labels=labels)
        known = GaugeMetricFamily("aiflow_link_measured", "0: rate and delay are as configured.", labels=labels)
        for name in self._census.cluster.topology.wires():
            for direction, against in (("up", False), ("down", True)):
                line = self._census.watch.line(name, against)
                rates.add_metric([name, direction], line.rate)
                delays.add_metric([name, direction], line.delay)
                known.add_metric([name, direction], line.measured)
        yield from (rates, delays, known)
