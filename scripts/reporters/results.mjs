/**
 * Second reporter beside node:test's own: a line of JSON for each test as it ends, and for each suite that was skipped whole (node:test counts
 * those nowhere). A last line `{"end":true}` says that the file came to its end.
 */
export default async function* report(source) {
  for await (const { type, data } of source) {
    if (type === 'test:summary') yield '{"end":true}\n';
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const isSuite = data.details.type === 'suite';
    const result = resultOf(type, data);
    // What fails a suite is a test in it, or a hook: then its tests are told as cancelled, each one.
    if (isSuite && result !== 'skipped' && !isOwnFailure(result, data)) continue;
    yield `${JSON.stringify({ name: data.name, result, ms: Math.round(data.details.duration_ms) })}\n`;
  }
}

function resultOf(type, data) {
  if (type === 'test:fail' && data.todo === undefined) return 'failed';
  return data.skip === undefined && data.todo === undefined ? 'passed' : 'skipped';
}

/** A hook that failed, or a time limit: not the sum of what failed inside. */
function isOwnFailure(result, data) {
  return result === 'failed' && data.details.error?.failureType !== 'subtestsFailed';
}
