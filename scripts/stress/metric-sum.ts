/** The sum of a metric's values whose labels contain `label`, of a page as Prometheus reads it. */
export function metricSum(page: string, name: string, label = ''): number {
  return page
    .split('\n')
    .filter((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && line.includes(label))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
