//! What the clients do: one operation after another, drawn by chance from what each may do in its state.

use culex_codec::QoS;

use crate::wire::{self, Connect, Will};

use super::client::{Client, Context, Session, State};
use super::hooks::Fate;
use super::names::{FILTERS, SHARED_TOPICS, TOPICS, owned_topic, will_topic};
use super::oracle::{Asked, Message, Request};
use super::report::Reach;
use super::rng::Rng;

/// Messages of its own that a client has in flight at a time.
const OUTGOING_MAX: usize = 12;

/// One operation of a client.
pub(super) fn operate(client: &mut Client, context: &mut Context<'_>, is_watcher: bool) {
    // A generator of its own, so that the host need not stay borrowed.
    let mut rng = Rng::new(context.broker.host.borrow_mut().rng.next());
    context.broker.reach(Reach::Operation);
    match client.state {
        State::Offline => connect(client, context, &mut rng, is_watcher),
        State::Connecting => {
            // Packets may follow CONNECT at once; without an old session it is plain what they mean.
            if client.is_clean && rng.chance(500) {
                context.broker.reach(Reach::Pipelined);
                talk(client, context, &mut rng);
            } else if !is_watcher && rng.chance(300) {
                leave(client, context, &mut rng);
            }
        }
        State::Online => {
            if !is_watcher && rng.chance(150) {
                leave(client, context, &mut rng);
            } else {
                talk(client, context, &mut rng);
            }
        }
    }
}

fn talk(client: &mut Client, context: &mut Context<'_>, rng: &mut Rng) {
    match rng.below(100) {
        0..60 => publish(client, context, rng),
        60..82 => subscribe(client, context, rng),
        82..92 => unsubscribe(client, context, rng),
        92..96 => {
            client.is_reading = !client.is_reading;
            context.broker.reach(Reach::Pause);
        }
        _ => ping(client, context),
    }
}

pub(super) fn ping(client: &mut Client, context: &Context<'_>) {
    context.broker.reach(Reach::Ping);
    client.send(context, wire::PINGREQ);
}

fn publish(client: &mut Client, context: &mut Context<'_>, rng: &mut Rng) {
    let (qos_2_max, has_large) = {
        let host = context.broker.host.borrow();
        (usize::from(host.plan.limits.incoming_in_flight), host.plan.has_large_payloads)
    };
    for _ in 0..1 + rng.below(3) {
        let mut qos = u8::try_from(rng.below(3)).unwrap_or(0);
        if qos == 2 && client.awaiting_release() >= qos_2_max {
            qos = 1;
        }
        if client.in_flight() >= OUTGOING_MAX {
            qos = 0;
        }
        let is_owned = rng.chance(400);
        let topic = if is_owned { owned_topic(client.index) } else { rng.index(SHARED_TOPICS) };
        let is_retain = is_owned || rng.chance(200);
        let is_clear = is_retain && rng.chance(200);
        let is_large = has_large && rng.chance(100);
        let message = Message {
            publisher: client.index,
            topic,
            qos,
            is_retain,
            is_clear,
            payload_bytes: if is_large { 5000 } else { 5 + rng.index(30) },
            link: client.link.unwrap_or(0),
            ..Message::default()
        };
        let message = decide(context, rng, message);
        context.broker.reach([Reach::Publish0, Reach::Publish1, Reach::Publish2][usize::from(qos)]);
        for (is_so, reach) in [
            (is_retain, Reach::PublishRetained),
            (is_clear, Reach::PublishClear),
            (is_large, Reach::PublishLarge),
        ] {
            if is_so {
                context.broker.reach(reach);
            }
        }
        client.publish(context, message);
    }
}

/// What the hook will make of a message, if there is one; then the message leaves.
fn decide(context: &mut Context<'_>, rng: &mut Rng, mut message: Message) -> usize {
    let (asks, permille) = {
        let host = context.broker.host.borrow();
        (host.plan.asks, host.plan.fate_permille)
    };
    // Without payload it is not known again.
    if !asks.publish || message.is_clear || !rng.chance(permille) {
        return context.oracle.on_send(message);
    }
    let is_payload_replaced = rng.chance(500);
    let Message { topic, qos, is_retain, .. } = message;
    message.asked = Some(Asked { topic, qos, is_retain, is_payload_replaced });
    let kind = rng.below(4);
    if kind < 2 {
        message.is_withheld = true;
        message.is_retain = false;
    } else {
        if rng.chance(400) {
            message.topic = rng.index(SHARED_TOPICS);
        }
        if rng.chance(400) {
            message.qos = message.qos.min(u8::try_from(rng.below(3)).unwrap_or(0));
        }
        if rng.chance(300) {
            message.is_retain = !message.is_retain;
        }
        message.is_clear = message.is_retain && is_payload_replaced && rng.chance(200);
    }
    let (topic, qos, is_retain) = (message.topic, message.qos, message.is_retain);
    let number = context.oracle.on_send(message);
    let fate = match kind {
        0 => Fate::Refuse,
        1 => Fate::Drop,
        _ => Fate::Change {
            topic,
            payload: context.oracle.payload(number),
            qos: QoS::from_bits(qos).unwrap_or(QoS::AtMostOnce),
            is_retain,
        },
    };
    context.broker.host.borrow_mut().fates.insert(number, fate);
    number
}

fn subscribe(client: &mut Client, context: &mut Context<'_>, rng: &mut Rng) {
    let mut filters: Vec<(usize, u8)> = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let filter = rng.index(FILTERS.len());
        if filters.iter().all(|(other, _)| *other != filter) {
            filters.push((filter, u8::try_from(rng.below(3)).unwrap_or(0)));
        }
    }
    send_subscribe(client, context, filters);
}

pub(super) fn send_subscribe(client: &mut Client, context: &mut Context<'_>, filters: Vec<(usize, u8)>) {
    context.broker.reach(Reach::Subscribe);
    let id = client.packet_id();
    let names: Vec<(&str, u8)> = filters.iter().map(|(filter, qos)| (FILTERS[*filter], *qos)).collect();
    context.note(format_args!("{} SUBSCRIBE id {id} {names:?}", client.id));
    context.oracle.on_subscribe(client.index, &filters, client.link);
    client.send(context, &wire::subscribe(id, &names));
    client.requests.insert(id, Request::Subscribe(filters));
}

fn unsubscribe(client: &mut Client, context: &mut Context<'_>, rng: &mut Rng) {
    context.broker.reach(Reach::Unsubscribe);
    let mine = context.oracle.filters_of(client.index);
    let filter = if mine.is_empty() { rng.index(FILTERS.len()) } else { rng.pick(&mine) };
    let id = client.packet_id();
    context.note(format_args!("{} UNSUBSCRIBE id {id} {}", client.id, FILTERS[filter]));
    let on_their_way = context.broker.host.borrow().on_their_way(client.shard);
    let sent = context.oracle.on_unsubscribe(client.index, &[filter], &on_their_way);
    client.send(context, &wire::unsubscribe(id, &[FILTERS[filter]]));
    client.requests.insert(id, Request::Unsubscribe(vec![filter], sent));
}

/// Ends the connection in one of the ways there are.
fn leave(client: &mut Client, context: &mut Context<'_>, rng: &mut Rng) {
    let way = rng.below(4);
    if way == 0 && client.state == State::Online {
        return disconnect(client, context);
    }
    let Some(link) = client.go_offline() else { return };
    if way == 1 {
        context.note(format_args!("{} closes L{link}", client.id));
        context.broker.reach(Reach::NetClose);
        context.broker.host.borrow_mut().hang_up(link);
        return;
    }
    context.note(format_args!("{} lets go of L{link}", client.id));
    let mut host = context.broker.host.borrow_mut();
    if rng.chance(500) {
        host.let_go(link);
    } else {
        host.abandon(link);
    }
    host.counts.add(Reach::NetHalfOpen);
    drop(host);
    if way == 2 {
        context.broker.reach(Reach::TakeOver);
        connect(client, context, rng, false);
    }
}

/// DISCONNECT, then the end of the connection.
pub(super) fn disconnect(client: &mut Client, context: &mut Context<'_>) {
    let Some(link) = client.link else { return };
    context.note(format_args!("{} DISCONNECT on L{link}", client.id));
    context.broker.reach(Reach::Disconnect);
    client.send(context, wire::DISCONNECT);
    client.go_offline();
    let mut host = context.broker.host.borrow_mut();
    let found = &mut host.links[link];
    found.disconnect_end = Some(found.sent);
    host.hang_up(link);
}

fn connect(client: &mut Client, context: &mut Context<'_>, rng: &mut Rng, is_watcher: bool) {
    client.must_clean |= context.oracle.may_have_begun_anew(client.index);
    let is_clean = is_watcher || client.must_clean || rng.chance(350);
    let keep_alive =
        if rng.chance(300) && !is_watcher { u16::try_from(1 + rng.below(5)).unwrap_or(1) } else { 0 };
    let will = (!is_watcher && rng.chance(400)).then(|| Message {
        publisher: client.index,
        topic: will_topic(client.index),
        qos: u8::try_from(rng.below(3)).unwrap_or(0),
        is_retain: rng.chance(300),
        is_clear: false,
        payload_bytes: 10,
        ..Message::default()
    });
    if !is_watcher && !is_clean && rng.chance(100) {
        context.broker.reach(Reach::UserChanged);
        client.is_new_user |= client.session == Session::Present;
        client.user += 1;
        client.forget(context);
        client.session = Session::Absent;
    }
    dial(client, context, is_clean, keep_alive, will, is_watcher);
}

/// Opens a connection and sends CONNECT.
pub(super) fn dial(
    client: &mut Client,
    context: &mut Context<'_>,
    is_clean: bool,
    keep_alive: u16,
    will: Option<Message>,
    is_reliable: bool,
) {
    context.broker.reach(Reach::Connect);
    let mut connect = Connect::new(&client.id);
    connect.clean_session = is_clean;
    connect.keep_alive = keep_alive;
    connect.user_name = client.user_name().map(Into::into);
    let link = context.broker.host.borrow_mut().dial(client.index, client.shard, is_reliable);
    context.oracle.on_dial(client.index, is_clean);
    if is_clean || client.is_clean {
        client.forget(context);
        // Once on its way, a clean start must get through before anything else can be relied on.
        client.must_clean = is_clean;
        client.session = Session::Absent;
    } else if client.session == Session::Absent {
        // An earlier attempt may have got through.
        client.session = Session::Unknown;
    }
    if !is_clean {
        context.broker.reach(Reach::ConnectPersistent);
    }
    if let Some(will) = will {
        context.broker.reach(Reach::ConnectWill);
        let (qos, is_retain, topic) = (will.qos, will.is_retain, will.topic);
        let message = context.oracle.on_will(client.index, Message { link, ..will });
        context.oracle.set_will(link, message);
        let mut will = Will::new(TOPICS[topic], &context.oracle.payload(message), qos);
        will.retain = is_retain;
        connect.will = Some(will);
    }
    context.note(format_args!(
        "{} CONNECT on L{link} clean {is_clean} keep alive {keep_alive} will {:?}",
        client.id,
        connect.will.as_ref().map(|will| String::from_utf8_lossy(&will.message))
    ));
    client.is_clean = is_clean;
    client.keep_alive = keep_alive;
    client.start_link(link);
    {
        let mut host = context.broker.host.borrow_mut();
        host.links[link].keep_alive = keep_alive;
        host.links[link].is_clean = is_clean;
    }
    client.send(context, &connect.encode());
}
