// Starts the suite's origin and a cache before it, on free ports, and ends them.
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'

const DEADLINE_MS = 20000
const children = []

function start (program, args, options) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  child.said = ''
  child.failed = new Promise((resolve, reject) => {
    child.once('error', error => reject(new Error(`${program}: ${error.message}`)))
    child.once('exit', code => reject(new Error(`${program} ended with ${code}:\n${child.said}`)))
  })
  child.failed.catch(() => {}) // ended on purpose, later
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', text => {
      if (child.said.length < 65536) child.said += text
      child.emit('said')
    })
  }
  children.push(child)
  return child
}

/** Waits until `look` returns something, or the child ends, or the deadline passes. */
async function until (child, what, look) {
  let over = false
  const watch = async () => {
    const end = Date.now() + DEADLINE_MS
    while (!over && Date.now() < end) {
      const found = await look()
      if (found) return found
      await delay(10)
    }
    throw new Error(`${what}: nothing within ${DEADLINE_MS} ms\n${child.said}`)
  }
  try {
    return await Promise.race([watch(), child.failed])
  } finally {
    over = true
  }
}

/** The suite's own test server; returns its port. */
export async function startOrigin (suiteFolder, folder) {
  const child = start(process.execPath, ['server/server.mjs'], {
    cwd: suiteFolder,
    env: { ...process.env, npm_config_protocol: 'http', npm_config_port: '0', npm_config_pidfile: path.join(folder, 'origin.pid') }
  })
  return until(child, 'the origin', () => child.said.match(/Listening on http:\/\/.*:(\d+)\//)?.[1])
}

/** The real binary; returns its base URL. */
export async function startAnypop (binary, here, folder, originPort) {
  if (!fs.existsSync(binary)) throw new Error(`${binary} is missing: cargo build -p anypop`)
  const fill = (name, to) => fs.writeFileSync(
    path.join(folder, to),
    fs.readFileSync(path.join(here, name), 'utf8').replaceAll('{folder}', folder).replaceAll('{port}', originPort))
  fs.mkdirSync(path.join(folder, 'sites'))
  fill('node.toml', 'node.toml')
  fill('site.toml', 'sites/suite.toml')
  const announce = path.join(folder, 'announce.json')
  const child = start(binary, ['serve', '--config', path.join(folder, 'node.toml'), '--announce', announce], {})
  const text = await until(child, 'anypop', () => fs.existsSync(announce) && fs.readFileSync(announce, 'utf8'))
  return `http://${JSON.parse(text).listeners[0].address}`
}

/** nginx with its cache on, to compare with and to check this runner; returns its base URL. */
export async function startNginx (folder, originPort) {
  const port = await freePort()
  fs.writeFileSync(path.join(folder, 'nginx.conf'), `
    ${process.getuid() === 0 ? 'user root;' : ''}
    daemon off; error_log stderr warn; pid ${folder}/nginx.pid;
    events {}
    http {
      access_log off;
      client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
      proxy_cache_path ${folder}/cache levels=1:2 keys_zone=suite:8m;
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://127.0.0.1:${originPort}; proxy_cache suite; proxy_cache_revalidate on; }
      }
    }`)
  const child = start('nginx', ['-p', folder, '-c', path.join(folder, 'nginx.conf')], {})
  await until(child, 'nginx', () => answers(port))
  return `http://127.0.0.1:${port}`
}

function freePort () {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

function answers (port) {
  return new Promise(resolve => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => { socket.destroy(); resolve(true) })
    socket.once('error', () => resolve(false))
  })
}

/** Ends what was started here. */
export async function stopAll () {
  await Promise.all(children.map(child => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return undefined
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGINT')
    return Promise.race([gone, delay(5000, undefined, { ref: false }).then(() => child.kill('SIGKILL'))])
  }))
}
