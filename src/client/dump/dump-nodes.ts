import type { Duplex, Writable } from 'node:stream';
import type { Target } from '../../event/target.ts';
import type { AskedWords } from '../../filter/targets.ts';
import { GATE_PORT } from '../../protocol/constants.ts';
import { EXIT, KtraceError } from '../../util/errors.ts';
import { inTurns } from '../../util/turns.ts';
import { createApi } from '../cluster/api.ts';
import { Credentials } from '../cluster/credentials.ts';
import { firstGates, type Gate } from '../cluster/gates.ts';
import { contextNamespace, type KubeOptions, kubeSurroundings, loadKubeConfig } from '../cluster/kubeconfig.ts';
import { forwardPort } from '../cluster/port-forward.ts';
import { askRecorded, type NodeAccess, type RecordedAnswer } from '../wire/node-question.ts';

/** What is asked of which cluster. */
export interface DumpScope extends KubeOptions {
  asked: AskedWords;
  ktraceNamespace: string;
  /** Asked for are also Services as they were between these times: where one is a target, or always. */
  services?: { sinceMs: number; untilMs: number; always?: boolean };
}

interface Surroundings {
  stderr: Writable;
  interrupt: AbortSignal;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

/** A node that answered, or one that did not. */
export interface Asked {
  access: NodeAccess;
  answer: RecordedAnswer | undefined;
  error: KtraceError | undefined;
}

/** What all nodes have recorded, from those that said it. */
export interface Recordings {
  asked: readonly Asked[];
  /** At least one. */
  answers: readonly RecordedAnswer[];
}

/** Asks all nodes of a cluster what they have of the targets, and goes on with the answers. Gives the exit code; throws KtraceError. */
export async function withRecordings(
  scope: DumpScope,
  io: Surroundings,
  goOn: (targets: Target[], recordings: Recordings) => Promise<number>,
): Promise<number> {
  const config = loadKubeConfig(
    scope,
    kubeSurroundings(io.findLab, (text) => io.stderr.write(`ktrace: ${text}\n`)),
  );
  const targets = scope.asked.targetsIn(contextNamespace(config));
  const api = createApi(config, scope.requestTimeoutMs);
  const credentials = new Credentials({ api, targets, ktraceNamespace: scope.ktraceNamespace });
  try {
    const [gates] = await Promise.all([firstGates(api, scope.ktraceNamespace, io.interrupt), credentials.fresh()]);
    const dial = async (gate: Gate, signal: AbortSignal): Promise<Duplex> => {
      await credentials.fresh();
      return forwardPort(config, gate, GATE_PORT, signal);
    };
    const nodes = [...gates.values()]
      .sort((a, b) => a.node.localeCompare(b.node))
      .map(
        (gate): NodeAccess => ({
          node: gate.node,
          dial: (signal) => dial(gate, signal),
          tokens: () => credentials.tokens(),
          interrupt: io.interrupt,
        }),
      );
    return await goOn(targets, await askAll(nodes, targets, scope.services));
  } catch (error) {
    if (io.interrupt.aborted) return EXIT.interrupted;
    throw await credentials.explain(error);
  } finally {
    credentials.close();
  }
}

async function askAll(nodes: readonly NodeAccess[], targets: Target[], services: DumpScope['services']): Promise<Recordings> {
  const isOfServices = services?.always === true || targets.some(({ kind }) => kind === 'service');
  const asked = await inTurns(nodes, (access) => askOne(access, targets, isOfServices ? services : undefined));
  const answers = asked.flatMap(({ answer }) => answer ?? []);
  if (answers.length > 0) return { asked, answers };
  throw asked[0]?.error ?? new KtraceError('KTRACE_E_NO_AGENT', 'There is no agent', { exitCode: EXIT.noAgent });
}

async function askOne(access: NodeAccess, targets: Target[], services: DumpScope['services']): Promise<Asked> {
  try {
    return { access, answer: await askRecorded(access, targets, services), error: undefined };
  } catch (error) {
    if (!(error instanceof KtraceError) || error.exitCode === EXIT.notAuthorized || access.interrupt.aborted) throw error;
    return { access, answer: undefined, error };
  }
}
