import type { Counter } from '../../util/counter.ts';
import type { Recorder } from './recorder.ts';
import type { RecordLane } from './recording.ts';

/** The recorder's counters; none where nothing is recorded. */
export function recorderCounters(recorder: Recorder | undefined): Counter[] {
  if (recorder === undefined) return [];
  const { stores, counts, incidents } = recorder;
  const byLane = (value: (store: Recorder['stores'][RecordLane]) => number): Counter['values'] =>
    Object.entries(stores).map(([lane, store]) => ({ labels: { lane }, value: value(store) }));
  const lost = Object.values(stores).reduce((sum, store) => sum + store.counts.lostRecords, 0);
  return [
    {
      name: 'ktrace_recorder_records_total',
      help: 'Packets and flows taken into the recording; what became of them is written, lost, or waiting.',
      type: 'counter',
      values: [{ labels: {}, value: counts.records }],
    },
    {
      name: 'ktrace_recorder_records_written_total',
      help: 'Records that are on disk, by part of the recording.',
      type: 'counter',
      values: byLane((store) => store.counts.writtenRecords),
    },
    {
      name: 'ktrace_recorder_records_lost_total',
      help: 'Records that are not in the recording, by reason.',
      type: 'counter',
      values: [
        { labels: { reason: 'disk' }, value: lost },
        { labels: { reason: 'share' }, value: counts.cut },
        { labels: { reason: 'too_long' }, value: counts.tooLong },
      ],
    },
    {
      name: 'ktrace_recorder_late_names_total',
      help: 'Records of pods that the API server had not told of yet: named in time, recorded without a name after waiting, or at once as too many waited.',
      type: 'counter',
      values: Object.entries(recorder.lateNames).map(([outcome, value]) => ({ labels: { outcome }, value })),
    },
    {
      name: 'ktrace_recorder_written_bytes_total',
      help: 'Bytes written, by part of the recording.',
      type: 'counter',
      values: byLane((store) => store.counts.writtenBytes),
    },
    {
      name: 'ktrace_recorder_bytes',
      help: 'Bytes of the recording on disk, by part.',
      type: 'gauge',
      values: [...byLane((store) => store.totalBytes), { labels: { lane: 'incidents' }, value: incidents.totalBytes }],
    },
    {
      name: 'ktrace_recorder_services_left_out',
      help: 'Services and endpoints that are not recorded because there are more than a segment has room for.',
      type: 'gauge',
      values: [{ labels: {}, value: recorder.services.leftOut }],
    },
    {
      name: 'ktrace_recorder_incidents_total',
      help: 'Incidents of pods, by what became of them: kept, failed on the disk, dropped because of too many at once.',
      type: 'counter',
      values: Object.entries(incidents.counts).map(([outcome, value]) => ({ labels: { outcome }, value })),
    },
  ];
}
