/** Rows of cells as text, in columns of one width. */
export function table(rows: readonly string[][]): string {
  const width = (at: number) => Math.max(...rows.map((row) => row[at]?.length ?? 0));
  return rows.map((row) => `  ${row.map((cell, at) => cell.padEnd(width(at))).join('  ')}`.trimEnd()).join('\n');
}
