import type { Subscription } from '../../event/target.ts';
import { kernelPart, kernelPartText, protocolPart, unionOf } from '../../filter/evaluate/kernel-part.ts';
import { kernelProgram } from '../../filter/evaluate/kernel-program.ts';
import { USUAL_TUNNEL_PORTS } from '../../filter/evaluate/tunnel-ports.ts';
import type { Expression } from '../../filter/language/ast.ts';
import { parseFilter } from '../../filter/language/parse.ts';
import { messageOf } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { Tracer } from '../kernel/tracer.ts';

/** Parts that the kernel is given the union of; of more of them it is given the protocols that they ask for, up to so many. */
const MAX_PARTS = 8;
const MAX_PROTOCOLS = 32;

/** The part of the followers' filters that the kernel decides, kept as they come, change and go. */
export class KernelFilter {
  readonly #tracer: Pick<Tracer, 'setFilter'>;
  readonly #log: Logger;
  #text: string | undefined;
  /** What it was made from: it is made again only when that has changed. */
  #madeOf = '';

  constructor(tracer: Pick<Tracer, 'setFilter'>, log: Logger) {
    this.#tracer = tracer;
    this.#log = log;
  }

  /** What the kernel is asked for at this moment; undefined: nothing is left out there. */
  get text(): string | undefined {
    return this.#text;
  }

  /** Takes effect at once. What the kernel refuses is left to user space. */
  update(subscriptions: readonly Subscription[], tunnelPorts: readonly number[]): void {
    const madeOf = JSON.stringify([subscriptions.map(({ filter }) => filter?.text), tunnelPorts]);
    if (madeOf === this.#madeOf) return;
    this.#madeOf = madeOf;
    const part = partOfAll(subscriptions, [...USUAL_TUNNEL_PORTS, ...tunnelPorts]);
    const text = part === undefined ? undefined : kernelPartText(part);
    if (text === this.#text) return;
    this.#text = undefined;
    const program = part === undefined ? undefined : kernelProgram(part);
    try {
      this.#tracer.setFilter(program);
      if (program !== undefined) this.#text = text;
    } catch (error) {
      this.#tracer.setFilter(undefined);
      this.#log.warn({ err: messageOf(error), filter: text }, 'the kernel does not take the filter: user space decides alone');
    }
  }
}

/** With one follower without a filter nothing is left out. */
function partOfAll(subscriptions: readonly Subscription[], tunnelPorts: readonly number[]): Expression | undefined {
  const texts = new Set(subscriptions.map(({ filter }) => filter?.text));
  const parts = new Map<string, Expression>();
  for (const text of texts) {
    const part = text === undefined ? undefined : partOf(text, tunnelPorts);
    if (part === undefined) return undefined;
    parts.set(kernelPartText(part), part);
  }
  if (parts.size <= MAX_PARTS) return unionOf([...parts.values()]);
  const protocols = new Map(
    [...parts.values()].map((part) => protocolPart(part)).map((part) => [part && kernelPartText(part), part]),
  );
  return protocols.size > MAX_PROTOCOLS ? undefined : unionOf([...protocols.values()]);
}

function partOf(text: string, tunnelPorts: readonly number[]): Expression | undefined {
  const expression = parseFilter(text, 'live');
  return expression === undefined ? undefined : kernelPart(expression, tunnelPorts);
}
