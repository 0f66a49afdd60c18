// What the suite's results mean, and how they differ from the list of expected ones.

const ROW = { required: 'required', optimal: 'optimal', check: 'checks (yes)' }

/** One entry per test: kind, outcome (pass | fail | dependency | setup | retry) and the suite's message. */
export function summarise (suites, raw) {
  const tests = new Map(suites.flatMap(suite => suite.tests.map(test => [test.id, { ...test, suite: suite.id }])))
  const outcome = id => {
    const test = tests.get(id)
    const result = raw[id]
    if (test === undefined || result === undefined) return undefined
    // A test proves nothing when one that it builds on fails.
    if ((test.depends_on ?? []).some(other => tests.has(other) && outcome(other) !== 'pass')) return 'dependency'
    if (result === true) return 'pass'
    if (result[0] === 'Setup') return result[1] === 'retry' ? 'retry' : 'setup'
    return 'fail'
  }
  const all = {}
  for (const [id, test] of tests) {
    const is = outcome(id)
    if (is === undefined) continue // for browsers only
    const message = Array.isArray(raw[id]) ? short(raw[id][1]) : ''
    all[id] = { kind: test.kind ?? 'required', suite: test.suite, name: test.name, outcome: is, message }
  }
  return all
}

// Some messages quote a whole page.
function short (message) {
  const line = String(message).replace(/\s+/g, ' ')
  return line.length > 160 ? line.slice(0, 160) + '…' : line
}

/** A table for people: passed of total by kind, and what did not pass. */
export function table (results) {
  const lines = []
  for (const [id, test] of Object.entries(results)) {
    if (test.outcome !== 'pass' && test.kind !== 'check') lines.push(`  ${test.kind.padEnd(8)} ${test.outcome.padEnd(10)} ${id}: ${test.message}`)
  }
  if (lines.length > 0) lines.unshift('did not pass:')
  for (const [kind, title] of Object.entries(ROW)) {
    const some = Object.values(results).filter(test => test.kind === kind)
    const passed = some.filter(test => test.outcome === 'pass').length
    const share = some.length === 0 ? '' : ` (${(100 * passed / some.length).toFixed(1)} %)`
    lines.push(`${title.padEnd(14)} ${passed} of ${some.length}${share}`)
  }
  return lines.join('\n')
}

/**
 * Expected results are { tests: { id: "pass" | { kind, result, reason } } }; checks only observe, so they say "yes" or "no" and need no reason.
 * A complaint fails the run, a notice does not.
 */
export function compare (results, expected) {
  const complaints = []
  const notices = []
  const tests = {}
  for (const id of Object.keys(results).sort()) {
    const test = results[id]
    const was = expected.tests[id]
    const passed = test.outcome === 'pass'
    if (test.kind === 'check') {
      const now = passed ? 'yes' : 'no'
      tests[id] = now
      if (was !== undefined && was !== now) notices.push(`${id} changed from ${was} to ${now}: ${test.message || test.name}`)
      else if (was === undefined) complaints.push(`${id} is not listed: run ./x conformance --update`)
      continue
    }
    if (passed) {
      tests[id] = 'pass'
      if (was === undefined) complaints.push(`${id} is not listed: run ./x conformance --update`)
      else if (was !== 'pass') notices.push(`${id} passes now: run ./x conformance --update`)
      continue
    }
    const reason = typeof was === 'object' ? was.reason : ''
    tests[id] = { kind: test.kind, result: test.outcome, reason }
    if (was === 'pass') complaints.push(`${id} (${test.kind}) passed before and does not now: ${test.message}`)
    else if (was === undefined) complaints.push(`${id} (${test.kind}) is not listed: ${test.message}`)
    else if (reason === '') complaints.push(`${id} (${test.kind}) does not pass and has no reason`)
  }
  for (const id of Object.keys(expected.tests)) {
    if (!(id in results)) complaints.push(`${id} is listed, but did not run`)
  }
  return { complaints, notices, updated: { suite: expected.suite ?? 'http-cache-tests@0.4.5', tests } }
}
