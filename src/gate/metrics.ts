import { Counter, Gauge, Registry } from 'prom-client';

/** The gate's own counters. They share a page with the agent's, so every name begins with `ktrace_gate_`. */
export interface GateMetrics {
  registry: Registry;
  agentUp: Gauge;
  connections: Gauge;
  connectionsTotal: Counter;
  refused: Counter<'code'>;
  bytes: Counter<'to'>;
}

/** Fresh counters in a registry of their own. */
export function createGateMetrics(): GateMetrics {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    agentUp: new Gauge({ name: 'ktrace_gate_agent_up', help: 'Whether the agent of this node answered this scrape.', registers }),
    connections: new Gauge({ name: 'ktrace_gate_connections', help: 'Websockets relayed at this moment.', registers }),
    connectionsTotal: new Counter({ name: 'ktrace_gate_connections_total', help: 'Websockets relayed so far.', registers }),
    refused: new Counter({
      name: 'ktrace_gate_refused_total',
      help: 'Requests refused, by code.',
      labelNames: ['code'],
      registers,
    }),
    bytes: new Counter({
      name: 'ktrace_gate_relayed_bytes_total',
      help: 'Bytes relayed, counted when a connection ends.',
      labelNames: ['to'],
      registers,
    }),
  };
}
