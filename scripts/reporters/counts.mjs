/** Second reporter beside node:test's own: the run's final counts as one line of JSON. A run that broke off leaves none. */
export default async function* report(source) {
  for await (const event of source) {
    // Summaries of single files carry their file's name, the last one none.
    if (event.type === 'test:summary' && event.data.file === undefined) {
      yield `${JSON.stringify({ ...event.data.counts, durationMs: event.data.duration_ms })}\n`;
    }
  }
}
