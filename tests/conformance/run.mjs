// Runs http-cache-tests against anypop and compares with expected.json. See README.md in this folder.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { pathToFileURL } from 'node:url'
import { startAnypop, startNginx, startOrigin, stopAll } from './daemons.mjs'
import { compare, summarise, table } from './verdict.mjs'

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname)
const expectedFile = path.join(here, 'expected.json')

const { values: options } = parseArgs({
  options: {
    binary: { type: 'string', default: path.join(here, '../../target/debug/anypop') },
    peer: { type: 'string' },
    id: { type: 'string' },
    update: { type: 'boolean', default: false },
    json: { type: 'string' },
    parallel: { type: 'string', default: '50' }
  }
})

async function main () {
  const suiteFolder = path.join(here, 'node_modules/http-cache-tests')
  if (!fs.existsSync(suiteFolder)) throw new Error(`${suiteFolder} is missing: run "npm ci" in ${here}, or use ./x conformance`)
  const load = file => import(pathToFileURL(path.join(suiteFolder, file)))
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'anypop-conformance-'))
  try {
    const origin = await startOrigin(suiteFolder, folder)
    const base = options.peer === 'nginx'
      ? await startNginx(folder, origin)
      : await startAnypop(path.resolve(options.binary), here, folder, origin)

    const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
    const { runTests, getResults } = await load('client/runner.mjs')
    const { default: fetch } = await import(pathToFileURL(path.join(here, 'node_modules/node-fetch/lib/index.mjs')))
    const chosen = options.id === undefined ? suites : only(suites, options.id)
    await runTests(chosen, fetch, false, base, Number(options.parallel))
    const results = summarise(chosen, getResults())

    if (options.json) fs.writeFileSync(options.json, JSON.stringify(results, null, 2) + '\n')
    console.log(table(results))
    if (options.id !== undefined) {
      console.log(JSON.stringify(results[options.id], null, 2))
      return results[options.id].outcome === 'pass'
    }
    if (options.peer !== undefined) return true
    const expected = fs.existsSync(expectedFile) ? JSON.parse(fs.readFileSync(expectedFile, 'utf8')) : { tests: {} }
    const { complaints, notices, updated } = compare(results, expected)
    if (options.update) {
      fs.writeFileSync(expectedFile, JSON.stringify(updated, null, 2) + '\n')
      console.log(`wrote ${expectedFile}`)
      const unexplained = Object.entries(updated.tests).filter(([, entry]) => entry.reason === '')
      for (const [id] of unexplained) console.log(`give a reason for ${id}`)
      return unexplained.length === 0
    }
    for (const line of notices) console.log(`note: ${line}`)
    for (const line of complaints) console.error(`error: ${line}`)
    return complaints.length === 0
  } finally {
    await stopAll()
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

function only (suites, id) {
  const found = suites.flatMap(suite => suite.tests.filter(test => test.id === id).map(test => ({ ...suite, tests: [test] })))
  if (found.length === 0) throw new Error(`no test is called ${id}`)
  found[0].tests[0].dump = true
  return found
}

// The suite's client keeps connections open, so the process ends by saying so.
main().then(
  good => process.exit(good ? 0 : 1),
  error => { console.error(error.message); process.exit(2) }
)
