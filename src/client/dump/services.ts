import type { Readable, Writable } from 'node:stream';
import { endsOf } from '../../event/ends.ts';
import type { AddressOwner, Target } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { inTurns } from '../../util/turns.ts';
import { readDumpServices } from '../file/dump-file.ts';
import { joined, type ToldService, toldServices } from '../merge/told-services.ts';
import { openSource } from '../read/read-source.ts';
import { serviceLines } from '../render/service-text.ts';
import { escapeText, safeJson } from '../render/style/escape.ts';
import { askRecorded } from '../wire/node-question.ts';
import { type Asked, type DumpScope, type Recordings, withRecordings } from './dump-nodes.ts';
import { unrecordedTime } from './recorded-range.ts';

export interface ServicesOptions extends DumpScope {
  /** Unix milliseconds. */
  sinceMs: number;
  untilMs: number;
  output: 'text' | 'json';
  strict: boolean;
}

export interface ServicesIo {
  stdout: Writable;
  stderr: Writable;
  interrupt: AbortSignal;
  findLab(): { name: string; kubeconfig: string } | undefined;
}

/** `ktrace dump --services`: the targets' Services as they were, also those that are gone. Gives the exit code; throws as a dump does. */
export function runServices(options: ServicesOptions, io: ServicesIo): Promise<number> {
  const { sinceMs, untilMs } = options;
  const scope = { ...options, services: { sinceMs, untilMs, always: true } };
  return withRecordings(scope, io, (targets, recordings) => Promise.resolve(tellServices(targets, recordings, options, io)));
}

/** Prints what the nodes said of Services, and on stderr what is missing. Gives the exit code; throws KTRACE_E_NOT_RECORDED. */
export function tellServices(
  targets: readonly Target[],
  { asked, answers }: Recordings,
  { sinceMs, untilMs, output, strict }: Pick<ServicesOptions, 'sinceMs' | 'untilMs' | 'output' | 'strict'>,
  { stdout, stderr }: Pick<ServicesIo, 'stdout' | 'stderr'>,
): number {
  const isPast = unrecordedTime(answers, sinceMs, untilMs);
  if (isPast !== undefined) throw isPast;
  const found = servicesIn(asked);
  const isMissing = tellMissing(asked, stderr);
  if (found.length === 0 && targets.every(({ kind }) => kind === 'service')) throw unknownService(targets);
  for (const service of found) stdout.write(textOf(service, output));
  stderr.write(`ktrace: ${found.length} ${found.length === 1 ? 'Service' : 'Services'}\n`);
  return strict && isMissing ? EXIT.incomplete : EXIT.ok;
}

/** `ktrace read FILE --services`. Gives the exit code; throws as reading a dump does, after everything that could be read was printed. */
export async function readServices(
  path: string,
  output: 'text' | 'json',
  { stdin, stdout, stderr }: Pick<ServicesIo, 'stdout' | 'stderr'> & { stdin: Readable },
): Promise<number> {
  let count = 0;
  const source = await openSource(path, stdin);
  try {
    // What is no dump is refused by who reads it.
    for await (const service of readDumpServices(source.dump?.path ?? path, source.dump?.name)) {
      count += 1;
      stdout.write(textOf(service, output));
    }
  } finally {
    await source.close();
  }
  stderr.write(`ktrace: ${count} ${count === 1 ? 'Service' : 'Services'}\n`);
  return EXIT.ok;
}

/** The endpoints of the Services that are targets, as owners of their addresses: traffic of a Service is theirs, too, as in a follow. */
export function endpointOwners({ asked }: Pick<Recordings, 'asked'>, targets: readonly Target[]): AddressOwner[] {
  const services = asked.flatMap(({ answer }) => answer?.services ?? []);
  const meant = services.filter(({ namespace, name }) =>
    targets.some((target) => target.kind === 'service' && target.namespace === namespace && target.name === name),
  );
  const owners = joined(
    meant.flatMap(({ endpoints }) =>
      endpoints.flatMap(({ ip, pod, fromMs, toMs }) =>
        pod === undefined ? [] : [{ ip, uid: pod.uid, fromMs, ...(toMs === undefined ? {} : { toMs }) }],
      ),
    ),
  );
  return owners.slice(-MOST_OWNERS);
}

/** Half of what a request takes; the latest of more. */
const MOST_OWNERS = 32_768;

/** So many targets a question takes. */
const MOST_NAMED = 256;

/** Collects which Services the records of a dump name, and asks the nodes what these were. */
export class NamedServices {
  readonly #names = new Map<string, Target>();
  #isCut = false;

  note(event: KtraceEvent): void {
    if (event.kind !== 'packet' && event.kind !== 'flow') return;
    for (const { service } of endsOf(event)) if (service !== undefined) this.#add(service.namespace, service.name);
    for (const { service } of event.nat ?? []) {
      const [namespace, name] = service?.split(':')[0]?.split('/') ?? [];
      if (namespace !== undefined && name !== undefined) this.#add(namespace, name);
    }
  }

  /** From those nodes that answered before. `lacks`: what is not in it, for a person. */
  async ask(
    asked: readonly Asked[],
    within: { sinceMs: number; untilMs: number },
  ): Promise<{ services: ToldService[]; lacks: string[] }> {
    const targets = [...this.#names.values()];
    const lacks: string[] = [];
    if (targets.length === 0) return { services: [], lacks };
    if (this.#isCut) lacks.push(`the records name more than ${MOST_NAMED} Services: the first ones are in the file`);
    const nodes = asked.filter(({ answer }) => answer !== undefined);
    const answers = await inTurns(nodes, async ({ access }) => {
      const { node } = access;
      const answer = await askRecorded(access, targets, within).catch((error: unknown) => {
        lacks.push(`${messageOf(error)}; the Services that ${node} recorded are missing in the file`);
        return undefined;
      });
      const cut = answer?.servicesCut ?? 0;
      if (cut > 0) lacks.push(`${node}: ${cut} more Services than fit into its answer are missing in the file`);
      return { node, services: answer?.services ?? [] };
    });
    return { services: toldServices(answers), lacks };
  }

  #add(namespace: string, name: string): void {
    const key = `${namespace}/${name}`;
    if (this.#names.has(key)) return;
    if (this.#names.size < MOST_NAMED) this.#names.set(key, { kind: 'service', namespace, name });
    else this.#isCut = true;
  }
}

function servicesIn(asked: readonly Asked[]): ToldService[] {
  return toldServices(asked.map(({ access, answer }) => ({ node: access.node, services: answer?.services ?? [] })));
}

function textOf(service: ToldService, output: 'text' | 'json'): string {
  if (output === 'json') return `${safeJson(service)}\n`;
  return serviceLines(service)
    .map((line) => `${escapeText(line)}\n`)
    .join('');
}

/** Nodes that did not answer, that cannot say, that have more than they say, and files that cannot be read. */
function tellMissing(asked: readonly Asked[], stderr: Writable): boolean {
  let isMissing = false;
  const say = (node: string, text: string): void => {
    isMissing = true;
    stderr.write(`ktrace: ${escapeText(`${node}: ${text}`)}\n`);
  };
  for (const { access, answer, error } of asked) {
    const { node } = access;
    if (error !== undefined) say(node, `${error.message}; what it recorded is missing [KTRACE_N_AGENT_DOWN]`);
    else if (answer?.services === undefined) say(node, 'its agent is of an older version, which records no Services');
    else if ((answer.servicesCut ?? 0) > 0) {
      say(node, `${answer.servicesCut} more Services than fit into its answer: ask for fewer or for a shorter time`);
    }
    for (const { name, at, bytes } of answer?.damaged ?? []) {
      if (!name.endsWith('.kinc')) say(node, `${bytes} bytes of ${name} at ${at} are damaged [KTRACE_N_RECORD_DAMAGED]`);
    }
  }
  return isMissing;
}

function unknownService(targets: readonly Target[]): KtraceError {
  const [target] = targets;
  const wanted = target?.kind === 'service' ? `: ${target.namespace}/${target.name}` : '';
  return new KtraceError('KTRACE_E_NOT_RECORDED', `No Service of these targets was recorded at this time${wanted}`, {
    hint: 'ktrace dump --services -n NAMESPACE lists those of a namespace.',
  });
}
