import { DEFAULT_SOCKET, GATE_PORT, METRICS_PORT } from '../protocol/constants.ts';
import { LOG_LEVELS, type LogLevel } from '../util/log.ts';
import { checkSocketPath, type Environment, type Flags, readSettings } from '../util/settings.ts';

export interface GateConfig {
  /** Path of the agent's unix socket. */
  socket: string;
  /** TCP port on loopback; 0 lets the kernel choose. */
  port: number;
  /** TCP port on all addresses for Prometheus; 0 lets the kernel choose. */
  metricsPort: number;
  /** Websockets relayed at the same time. */
  maxConnections: number;
  logLevel: LogLevel;
}

/**
 * The gate's configuration out of flags (`socket`, `port`, `metricsPort`, `maxConnections`, `logLevel`) and the variables
 * `KTRACE_SOCKET`, `KTRACE_LOG_LEVEL`, `KTRACE_GATE_PORT`, `KTRACE_GATE_METRICS_PORT`, `KTRACE_GATE_MAX_CONNECTIONS`. A flag wins.
 * @throws KtraceError KTRACE_E_ARGUMENT, exit code 2
 */
export function parseGateConfig(flags: Flags, env: Environment = process.env): GateConfig {
  const settings = readSettings(flags, env);
  // Not KTRACE_PORT: Kubernetes sets that to a URL in every pod beside a Service named ktrace.
  const own = readSettings(flags, env, 'KTRACE_GATE_');
  return {
    socket: checkSocketPath(settings.names('socket'), settings.text('socket') ?? DEFAULT_SOCKET),
    port: own.integer('port', 0, 65535) ?? GATE_PORT,
    metricsPort: own.integer('metricsPort', 0, 65535) ?? METRICS_PORT,
    maxConnections: own.integer('maxConnections', 1, 4096) ?? 128,
    logLevel: settings.oneOf('logLevel', LOG_LEVELS) ?? 'info',
  };
}
