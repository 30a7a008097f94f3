import type { NodeIncident } from '../../event/incident.ts';

/** An incident as a line of JSON tells it. */
export function incidentObject({ atMs, fromMs, toMs, ...incident }: NodeIncident): object {
  const { id, node, pod, causes, records, cut, isWhole } = incident;
  return {
    v: 1,
    kind: 'incident',
    id,
    time: utc(atMs),
    node,
    pod,
    causes,
    from: utc(fromMs),
    to: utc(toMs),
    records,
    ...(cut === 0 ? {} : { cut }),
    ...(isWhole ? {} : { isWhole }),
  };
}

/** As text: when, its name, where, whose, why, and how much is kept. Not escaped. */
export function incidentLine({ id, atMs, node, pod, causes, records, cut, isWhole }: NodeIncident): string {
  const kept = [`${records} records`, ...(cut === 0 ? [] : [`${cut} found no room`]), ...(isWhole ? [] : ['more to come'])].join(
    ', ',
  );
  const why = causes.map(({ text }) => text).join('; ');
  return `${utc(atMs)}  incident/${id}  ${node}  ${pod.namespace}/${pod.name}  ${why} (${kept})`;
}

function utc(ms: number): string {
  return new Date(ms).toISOString();
}
