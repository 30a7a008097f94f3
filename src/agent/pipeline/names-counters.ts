import type { Kube } from '../../kube/start.ts';
import type { Counter } from '../../util/counter.ts';

/** What the agent asks of the API server, what comes from there, and how much it holds of it; by kind of object. */
export function namesCounters(kube: Pick<Kube, 'state' | 'index'>): Counter[] {
  const { counts, staleSinceMs } = kube.state();
  const { pods, services, endpoints, nodes, ended, forgottenEarly } = kube.index.sizes();
  const byKind = Object.entries(counts);
  return [
    {
      name: 'ktrace_api_requests_total',
      help: 'Requests that the API server answered: pages of lists, and watches.',
      type: 'counter',
      values: byKind.flatMap(([kind, { pages, watches }]) => [
        { labels: { kind, verb: 'list' }, value: pages },
        { labels: { kind, verb: 'watch' }, value: watches },
      ]),
    },
    counter('ktrace_api_events_total', 'Changes and bookmarks that came by watches.', byKind, 'events'),
    counter('ktrace_api_failures_total', 'Lists and watches that failed and were tried again.', byKind, 'failures'),
    counter('ktrace_api_unusable_total', 'Objects without what is needed to name anything by them.', byKind, 'unusable'),
    {
      name: 'ktrace_api_stale',
      help: '1 while some names are not up to date, because the API server does not answer.',
      type: 'gauge',
      values: [{ labels: {}, value: staleSinceMs === undefined ? 0 : 1 }],
    },
    {
      name: 'ktrace_names',
      help: 'What is held to name addresses by; `ended` is remembered for 15 minutes.',
      type: 'gauge',
      values: Object.entries({ pods, services, endpoints, nodes, ended }).map(([kind, value]) => ({ labels: { kind }, value })),
    },
    {
      name: 'ktrace_names_forgotten_early_total',
      help: 'What had ended and was forgotten before 15 minutes because there was too much.',
      type: 'counter',
      values: [{ labels: {}, value: forgottenEarly }],
    },
  ];
}

type ByKind = [kind: string, counts: Record<'events' | 'failures' | 'unusable', number>][];

function counter(name: string, help: string, byKind: ByKind, key: 'events' | 'failures' | 'unusable'): Counter {
  return { name, help, type: 'counter', values: byKind.map(([kind, counts]) => ({ labels: { kind }, value: counts[key] })) };
}
