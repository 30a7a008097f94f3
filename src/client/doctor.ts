import type { Writable } from 'node:stream';
import type { NodeReport } from '../event/node-report.ts';
import { GATE_PORT } from '../protocol/constants.ts';
import { EXIT, KtraceError } from '../util/errors.ts';
import { inTurns } from '../util/turns.ts';
import { createApi } from './cluster/api.ts';
import { Credentials } from './cluster/credentials.ts';
import { firstGates, type Gate } from './cluster/gates.ts';
import { hostNetworkText, podsOnHostNetwork } from './cluster/host-network.ts';
import { type KubeOptions, kubeSurroundings, loadKubeConfig } from './cluster/kubeconfig.ts';
import { nodesIfAllowed } from './cluster/nodes.ts';
import { forwardPort } from './cluster/port-forward.ts';
import { reportLines } from './render/doctor.ts';
import { escapeText, safeJson } from './render/style/escape.ts';
import { askNode, type SilentNode } from './wire/node-question.ts';

export interface DoctorOptions extends KubeOptions {
  ktraceNamespace: string;
  output: 'text' | 'json';
}

export interface DoctorIo {
  stdout: Writable;
  stderr: Writable;
  interrupt: AbortSignal;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

const NO_GATE = 'The node has no gate, which is the way to its agent: ktrace status says what is there';

/**
 * `ktrace doctor`: every node as its agent sees it, and those that have none. Needs what following a node needs. Gives 0 when packets can be told on every
 * node, 1 when not.
 * @throws KtraceError as a follow does: no agent (3), not authorized (4)
 */
export async function runDoctor(options: DoctorOptions, io: DoctorIo): Promise<number> {
  const config = loadKubeConfig(
    options,
    kubeSurroundings(io.findLab, (text) => io.stderr.write(`ktrace: ${text}\n`)),
  );
  const api = createApi(config, options.requestTimeoutMs);
  const credentials = new Credentials({ api, targets: [{ kind: 'all' }], ktraceNamespace: options.ktraceNamespace });
  try {
    const [gates] = await Promise.all([firstGates(api, options.ktraceNamespace, io.interrupt), credentials.fresh()]);
    const ask = async (gate: Gate): Promise<NodeReport | SilentNode> => {
      try {
        return await askNode({
          node: gate.node,
          dial: (signal) => forwardPort(config, gate, GATE_PORT, signal),
          tokens: () => credentials.tokens(),
          interrupt: io.interrupt,
        });
      } catch (error) {
        if (!(error instanceof KtraceError) || error.exitCode === EXIT.notAuthorized) throw error;
        return { v: 1, node: gate.node, works: false, reason: error.message };
      }
    };
    const asked = await inTurns([...gates.values()], ask);
    const nodes = (await nodesIfAllowed(api, io)).map(({ metadata }) => metadata.name);
    const missing = nodes
      .filter((node) => !gates.has(node))
      .map((node) => ({ v: 1, node, works: false, reason: NO_GATE }) as const);
    const reports = [...asked, ...missing].sort((a, b) => a.node.localeCompare(b.node));
    const open = await podsOnHostNetwork(api, options.ktraceNamespace, io.interrupt);
    if (open.length > 0)
      io.stderr.write(`ktrace: ${escapeText(hostNetworkText(open, options.ktraceNamespace))}; move them: ktrace install\n`);
    return tellReports(reports, options.output, io.stdout);
  } catch (error) {
    throw await credentials.explain(error);
  } finally {
    credentials.close();
  }
}

/** Prints the reports, one JSON object a line or as text; gives the exit code. */
export function tellReports(reports: readonly (NodeReport | SilentNode)[], output: 'text' | 'json', stdout: Writable): number {
  for (const report of reports) {
    stdout.write(output === 'json' ? `${safeJson(report)}\n` : `${reportLines(report).join('\n')}\n`);
  }
  return reports.every(({ works }) => works) ? EXIT.ok : EXIT.failure;
}
