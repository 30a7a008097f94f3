import { messageOf } from '../../../util/errors.ts';
import type { Guard } from '../../../util/guard.ts';
import { interfacesText, podInterfaces } from '../../kernel/interface-names.ts';
import type { Interfaces } from '../../kernel/interfaces.ts';
import type { Tracer } from '../../kernel/tracer.ts';
import type { Notices } from './notices.ts';

/** What followers and doctor read where not one interface is attached. */
export const NO_PACKETS = 'no packet is seen at any interface of this node';
/** Notices about facts that this kernel does not provide. */
const LACKS = ['KTRACE_N_NO_CONNTRACK', 'KTRACE_N_NO_DROPS', 'KTRACE_N_NO_PROBES'] as const;

export interface TracingNoticesOptions {
  tracer: Pick<Tracer, 'notices'> & { probes: Pick<Tracer['probes'], 'lacking'> };
  interfaces: Pick<Interfaces, 'lacking'>;
  guard: Guard;
}

/** What followers are told of the tracing itself: what this node cannot show them, and why. */
export class TracingNotices {
  readonly #notices: Notices;
  readonly #options: TracingNoticesOptions;

  constructor(notices: Notices, options: TracingNoticesOptions) {
    this.#notices = notices;
    this.#options = options;
  }

  /** Before anything is attached: what the kernel lacks for the programs. */
  atStart(): void {
    for (const { code, text } of this.#options.tracer.notices) this.#notices.put({ code, text, level: 'warn' });
  }

  /** Which facts this kernel does not provide. It is certain only once everything is attached. */
  lacks(): void {
    const { notices, probes } = this.#options.tracer;
    const lacks = new Map(notices.map(({ code, text }) => [code, { code, text, level: 'warn' as 'warn' | 'info' }]));
    const text = probes.lacking();
    if (text !== undefined) lacks.set('KTRACE_N_NO_PROBES', { code: 'KTRACE_N_NO_PROBES', text, level: 'info' });
    for (const code of LACKS) if (!lacks.has(code)) this.#notices.withdraw(code);
    for (const lack of lacks.values()) this.#notices.update(lack);
  }

  get lacksConntrack(): boolean {
    return this.#notices.has('KTRACE_N_NO_CONNTRACK');
  }

  /** The events after this notice come from programs that read conntrack. */
  conntrackLoaded(): void {
    const text = 'conntrack was loaded: translations are told from now on, and conversations that were open begin anew';
    this.#notices.once({ code: 'KTRACE_N_NO_CONNTRACK', text, level: 'info' });
  }

  /** Interfaces that are not attached: a node that is not seen must not look quiet. */
  interfaces(): void {
    const code = 'KTRACE_N_INTERFACES_INCOMPLETE';
    const lacking = this.#options.interfaces.lacking();
    if (lacking === undefined) {
      this.#notices.withdraw(code, { code, level: 'info', text: 'all interfaces of this node are attached now' });
      return;
    }
    const what = lacking.isEverything ? NO_PACKETS : 'not all interfaces of this node are seen';
    const text = `${what}: ${lacking.text}; trying again`;
    const level = lacking.isEverything ? 'error' : 'warn';
    this.#notices.update({ code, level, text, ...podInterfaces(lacking.failed) });
  }

  /** Interfaces at which our filters were gone and are back. */
  reattached(displaced: Parameters<typeof podInterfaces>[0]): void {
    if (displaced.length === 0) return;
    const text = `packets were not seen for a moment at ${interfacesText(displaced)}: somebody removed or replaced our filters there`;
    this.#notices.once({ code: 'KTRACE_N_REATTACHED', text, level: 'warn', ...podInterfaces(displaced) });
  }

  /** Failed steps, as long as steps fail: what they would have emitted is missing. */
  faults(): void {
    const faults = [...this.#options.guard.take()];
    if (faults.length === 0) this.#notices.withdraw('KTRACE_N_AGENT_FAULT');
    else if (!this.#notices.has('KTRACE_N_AGENT_FAULT')) {
      const what = faults.map(([place, error]) => `${place}: ${messageOf(error)}`).join('; ');
      const text = `a step of this node's agent fails, and what it would have told is missing (${what}); the agent's log has more`;
      this.#notices.put({ code: 'KTRACE_N_AGENT_FAULT', level: 'error', text });
    }
  }

  flowTable(isFull: boolean): void {
    if (!isFull) this.#notices.withdraw('KTRACE_N_FLOW_TABLE_FULL');
    else if (!this.#notices.has('KTRACE_N_FLOW_TABLE_FULL')) {
      const text =
        'there are more flows than the kernel’s table has room for: some are not counted, and of those only TCP’s SYN, FIN and RST and ICMP are told';
      this.#notices.put({ code: 'KTRACE_N_FLOW_TABLE_FULL', level: 'warn', text });
    }
  }
}
