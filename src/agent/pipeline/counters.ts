import type { AnswerTracker } from '../../flow/answers.ts';
import type { Assembler } from '../../flow/assemble.ts';
import type { FlowTracker } from '../../flow/flows.ts';
import type { Counter } from '../../util/counter.ts';
import type { Guard } from '../../util/guard.ts';
import type { Interfaces } from '../kernel/interfaces.ts';
import type { Tracer } from '../kernel/tracer.ts';

/** The stages of a pipeline, with what they count. */
export interface CountedStages {
  assembler: Pick<Assembler, 'counts' | 'held'>;
  flows: Pick<FlowTracker, 'counts' | 'open'>;
  answers: Pick<AnswerTracker, 'evicted'>;
  /** Events handed to followers, by kind. */
  told: Readonly<Record<string, number>>;
  /** Records of the kernel ring that could not be decoded. */
  malformed: number;
  followers: number;
  /** The part of the followers' filters that the kernel evaluates. */
  kernelFilter: string | undefined;
  guard: Guard;
}

/** Every stage's counters for the metrics: what came in, what went out, what was dropped and why. No pod or address labels. */
export function pipelineCounters(pipeline: CountedStages, tracer: Tracer, interfaces: Interfaces): Counter[] {
  const kernel = tracer.stats();
  const { assembler, flows } = pipeline;
  return [
    counter(
      'ktrace_kernel_matched_total',
      'Sightings that matched a followed target; one that is emitted late is counted twice.',
      [[{}, kernel.matched]],
    ),
    counter('ktrace_kernel_outcomes_total', 'What became of the matched runs; their sum is ktrace_kernel_matched_total.', [
      [{ outcome: 'emitted' }, kernel.emitted],
      [{ outcome: 'counted' }, kernel.counted],
      [{ outcome: 'uncounted-flow-table-full' }, kernel.uncounted],
      [{ outcome: 'cut-pod-rate' }, kernel.cut],
      [{ outcome: 'filtered' }, kernel.filtered],
      [{ outcome: 'lost-ring-full' }, kernel.lostRing],
      [{ outcome: 'lost-no-scratch' }, kernel.lostScratch],
    ]),
    counter('ktrace_kernel_passed_total', 'Program runs that passed the bit set and were no follower’s.', [
      [{ reason: 'unmatched' }, kernel.unmatched],
      [{ reason: 'unparsed' }, kernel.unparsed],
      [{ reason: 'no-body' }, kernel.noBody],
      [{ reason: 'drop-undecided-netns' }, kernel.dropUndecided],
      [{ reason: 'drop-of-another-node' }, kernel.dropForeign],
    ]),
    counter('ktrace_kernel_flow_table_full_total', 'Packets that found no room in the flow table for their flow.', [
      [{}, kernel.flowTableFull],
    ]),
    counter('ktrace_kernel_recursion_misses_total', 'Program runs that the kernel refused, by its own count.', [
      [{}, tracer.recursionMisses()],
    ]),
    counter('ktrace_sightings_total', 'Sightings decoded.', [[{}, assembler.counts.sightings]]),
    counter('ktrace_sightings_malformed_total', 'Records of the kernel ring that could not be decoded.', [
      [{}, pipeline.malformed],
    ]),
    counter('ktrace_drops_ignored_total', 'Drops reported by the kernel that are no packet’s fate.', [
      [{}, assembler.counts.noise],
    ]),
    counter('ktrace_stack_unjoined_total', 'What the kernel’s functions told of packets that were seen at no interface.', [
      [{}, assembler.counts.unjoined],
    ]),
    counter('ktrace_packets_total', 'Packets assembled, by what became of them.', [
      [{ outcome: 'told' }, assembler.counts.told],
      [{ outcome: 'amended' }, assembler.counts.amended],
      [{ outcome: 'discarded-provisional' }, assembler.counts.discarded],
      [{ outcome: 'told-early' }, assembler.counts.evicted],
    ]),
    counter('ktrace_packets_forgotten_total', 'Told packets that a late drop could not amend any more: too many were held.', [
      [{}, assembler.counts.forgotten],
    ]),
    counter('ktrace_flows_total', 'Flows, by what became of them.', [
      [{ outcome: 'opened' }, flows.counts.opened],
      [{ outcome: 'closed' }, flows.counts.closed],
      [{ outcome: 'closed-early' }, flows.counts.evicted],
    ]),
    counter('ktrace_questions_evicted_total', 'Pings, SYNs and queries whose answer was waited for no longer: too many waited.', [
      [{}, pipeline.answers.evicted],
    ]),
    counter(
      'ktrace_events_told_total',
      'Events handed to followers.',
      Object.entries(pipeline.told).map(([kind, n]) => [{ kind }, n]),
    ),
    counter('ktrace_attach_failures_total', 'Interfaces that could not be attached, and pods whose drops cannot be told.', [
      [{}, interfaces.failures],
    ]),
    counter(
      'ktrace_agent_faults_total',
      'Steps of the agent that failed and cost only themselves, by place; the log has the errors.',
      [...failuresOf(interfaces.guard, pipeline.guard)].map(([place, n]) => [{ place }, n]),
    ),
    counter(
      'ktrace_reattached_total',
      'Interfaces attached anew because somebody had removed or replaced our filters (clsact).',
      [[{}, interfaces.reattached]],
    ),
    gauge('ktrace_followers', 'Followers at this moment.', pipeline.followers),
    gauge(
      'ktrace_kernel_filter',
      'Whether the kernel leaves out a part of what the followers’ filters do not take.',
      pipeline.kernelFilter === undefined ? 0 : 1,
    ),
    gauge(
      'ktrace_programs_loaded',
      'Whether programs and maps are loaded: they are while somebody follows, and for a while after.',
      tracer.isLoaded ? 1 : 0,
    ),
    gauge('ktrace_attached_interfaces', 'Interfaces attached at this moment.', tracer.attachedInterfaces),
    gauge('ktrace_packets_held', 'Packets open or told and kept for amendments.', assembler.held),
    gauge('ktrace_flows_open', 'Flows open.', flows.open),
  ];
}

function failuresOf(...guards: readonly Guard[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { failures } of guards) for (const [place, n] of failures) sums.set(place, (sums.get(place) ?? 0) + n);
  return sums;
}

function counter(name: string, help: string, values: [Record<string, string>, number][]): Counter {
  return { name, help, type: 'counter', values: values.map(([labels, value]) => ({ labels, value })) };
}

function gauge(name: string, help: string, value: number): Counter {
  return { name, help, type: 'gauge', values: [{ labels: {}, value }] };
}
