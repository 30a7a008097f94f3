import type { Endpoint, FlowEvent, KtraceEvent, PacketEvent, Translation } from '../../../event/types.ts';
import type { Palette } from '../style/colors.ts';
import { escapeText } from '../style/escape.ts';
import { clockText, type Timestamps } from '../style/units.ts';
import { Columns } from './columns.ts';
import { fateText, hasDied, hopsText } from './fate.ts';
import { endpointText } from './names.ts';
import { quotedParts, shortProtocolText } from './protocol.ts';
import { countsText, eventText, firstEnds, initiatorOf } from './text.ts';

/** A terminal of less has not told its size: where it has none, kubectl attach tells 1 column. */
const MIN_COLUMNS = 20;

/** A terminal; both are asked for at each line. */
export interface Screen {
  /** Its width in characters; undefined where it is not known, and a line has its full length. */
  columns(): number | undefined;
  /** The one namespace that is followed: it goes without saying. */
  here(): string | undefined;
}

/**
 * Lines for a terminal: in columns, and as narrow as names allow. Against the full line they lack the way of a packet that arrived, the one
 * followed namespace, an echo's id, a port that a translation leaves as it is, and the word for an arrival, which is a sign. Where a packet died,
 * its way says where.
 * A reply has its request's columns: the Service that was asked on the right, the pod that answers behind `<=`.
 */
export class TerminalLines {
  readonly #columns = new Columns();
  readonly #screen: Screen;
  readonly #paint: Palette;
  readonly #timestamps: Timestamps | undefined;

  constructor(screen: Screen, paint: Palette, timestamps?: Timestamps) {
    this.#screen = screen;
    this.#paint = paint;
    this.#timestamps = timestamps;
  }

  /** As {@link eventText}; more than one line where the terminal is too narrow for it. */
  text(event: KtraceEvent): string | undefined {
    const width = this.#screen.columns();
    if (width === undefined || width < MIN_COLUMNS || (event.kind !== 'packet' && event.kind !== 'flow'))
      return eventText(event, 'text', this.#paint, this.#timestamps);
    if (event.kind === 'packet') return this.#packet(event, width);
    return event.state === 'open' ? undefined : this.#flow(event, width);
  }

  #packet(event: PacketEvent, width: number): string {
    const paint = this.#paint;
    const { time, icmp, cut, dir } = event;
    const sides = sidesOf(event);
    const parts = [
      shortProtocolText(event, paint),
      cut === true ? paint.warning('cut short') : '',
      ...this.#translations(sides, time),
    ].filter((part) => part !== '');
    const fate = fateText(event, paint, true);
    if (hasDied(event)) parts.push([paint.dim(hopsText(event.hops)), fate].join(' ').trim());
    else if (fate !== '') parts.push([parts.pop(), fate].join(' '));
    if (icmp !== undefined) parts.push(...quotedParts(icmp, paint, time, this.#screen.here()));
    const cells = [
      paint.dim(clockText(time, this.#timestamps)),
      event.nodes.map((node) => paint.node(escapeText(node))).join('>'),
      ...this.#ends(sides, dir === 'reply' ? '<-' : '->', time),
    ];
    return this.#columns.line(cells, parts, width);
  }

  #flow(event: FlowEvent, width: number): string {
    const { startTime, endTime, node, proto } = event;
    const sides = sidesOf(event);
    const cells = [clockText(endTime, this.#timestamps), escapeText(node), ...this.#ends(sides, '<>', startTime)];
    const parts = [escapeText(proto), ...this.#translations(sides, startTime), countsText(event)];
    return this.#paint.dim(this.#columns.line(cells, parts, width));
  }

  #ends({ who, whom }: Sides, sign: string, time: string): [string, string] {
    return [this.#end(who, time), `${sign} ${this.#end(whom, time)}`];
  }

  #translations({ who, whom, steps }: Sides, time: string): string[] {
    return steps.map(({ sign, end }) => {
      const port = sign === 'as' ? who.port : whom.port;
      const { port: ownPort, ...bare } = end;
      const shown = ownPort === port ? bare : end;
      return `${this.#paint.translation(sign)} ${this.#end(shown, time, whom.service?.namespace)}`;
    });
  }

  /** @param said a namespace that was named before on this line */
  #end(endpoint: Endpoint, time: string, said?: string): string {
    const { pod } = endpoint;
    const here = pod !== undefined && pod.namespace === said ? said : this.#screen.here();
    return endpointText(endpoint, this.#paint, time, here);
  }
}

/** Whoever began, whom they asked, and what was made of it, in the order of a request's way. */
interface Sides {
  who: Endpoint;
  whom: Endpoint;
  steps: { sign: '=>' | '<=' | 'as'; end: Endpoint }[];
}

function sidesOf(event: { src: Endpoint; dst: Endpoint; dir?: string; nat?: Translation[] }): Sides {
  const { src, dir, nat = [] } = event;
  if (dir !== 'reply') {
    const steps = nat.map(({ kind, after }) => ({ sign: kind === 'snat' ? ('as' as const) : ('=>' as const), end: after }));
    const { src: who, dst: whom } = firstEnds(event);
    return { who, whom, steps };
  }
  const steps = nat.map(({ kind, before }) => ({ sign: kind === 'snat' ? ('as' as const) : ('<=' as const), end: before }));
  const whom = nat.findLast(({ kind }) => kind === 'dnat')?.after ?? src;
  return { who: initiatorOf(event), whom, steps: steps.toReversed() };
}
