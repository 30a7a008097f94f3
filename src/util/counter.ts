/** One metric of what a process counts, as Prometheus is told of it. */
export interface Counter {
  /** Prometheus name, e.g. `ktrace_sightings_total`. */
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  values: { labels: Record<string, string>; value: number }[];
}
