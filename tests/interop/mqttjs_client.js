// One MQTT client as a process, with mqtt.js. The only argument is JSON; see `kind.rs`, which writes it.
// Says what happens in the same lines as paho_client.py.
'use strict'

const readline = require('node:readline')
const mqtt = require('mqtt')

const options = JSON.parse(process.argv[2])
let received = 0
let leaving = false

const say = (...words) => process.stdout.write(words.join('\t') + '\n')
// Not before what was said is in the pipe.
const exit = (status = 0) => process.stdout.write('', () => process.exit(status))
const leave = () => {
  leaving = true
  client.end(false, () => exit())
}
const give_up = (...words) => {
  say(...words)
  exit(3)
}

const client = mqtt.connect({
  host: options.host,
  port: options.port,
  clientId: options.id,
  clean: options.clean,
  protocolId: options.version === 3 ? 'MQIsdp' : 'MQTT',
  protocolVersion: options.version,
  keepalive: options.keep_alive_s,
  username: options.user ?? undefined,
  password: options.password ?? undefined,
  will: options.will ?? undefined,
  reconnectPeriod: 0, // a lost connection is a result, not something to mend
  resubscribe: false,
})

client.on('connect', (connack) => {
  say('CONNECTED', connack.sessionPresent ? 1 : 0)
  if (options.role === 'publish') publish()
  else if (!options.resume) subscribe()
})
client.on('message', (topic, payload, packet) => {
  say('MESSAGE', packet.qos, packet.retain ? 1 : 0, topic, payload.toString())
  received += 1
  // What comes after the last expected message but before UNSUBACK is one too many, and is printed too.
  if (received === options.count) client.unsubscribe(options.filter, leave)
})
client.on('packetreceive', (packet) => {
  if (packet.cmd === 'pingresp') say('PINGRESP')
})
client.on('error', (error) => give_up('REFUSED', error.code ?? error.message))
client.on('close', () => leaving || give_up('LOST'))

function subscribe () {
  client.subscribe(options.filter, { qos: options.qos }, (error, granted) => {
    if (error) return give_up('REFUSED', error.message)
    say('SUBSCRIBED', ...granted.map((one) => one.qos))
    if (options.leave) leave()
  })
}

function publish () {
  const waiting = []
  readline.createInterface({ input: process.stdin })
    .on('line', (line) => {
      waiting.push(client.publishAsync(options.topic, line, { qos: options.qos, retain: options.retain }))
    })
    .on('close', () => {
      Promise.all(waiting).then(() => {
        say('PUBLISHED', waiting.length)
        leave()
      }, (error) => give_up('REFUSED', error.message))
    })
}

if (options.role === 'subscribe' && options.count === 0 && !options.leave) {
  process.stdin.resume().on('end', leave)
}
