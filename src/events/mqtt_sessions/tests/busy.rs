//! Guards what sessions of MQTT have to write while the writer has more to do than it takes.

use super::*;

/// Keeps the writer busy until it is released.
struct Hold(std::sync::mpsc::Receiver<()>);

impl Change for Hold {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        let _ = self.0.recv();
        Ok(())
    }
}

#[tokio::test]
async fn whatever_others_have_to_write_the_end_of_a_connection_and_what_a_session_must_know_are_written() {
    let house = House::new();
    let id = house.begin_anew(connect("phone")).await;
    let (go, wait) = std::sync::mpsc::channel();
    let mut outcomes = vec![house.writer.post(Hold(wait)).unwrap()];
    let inserts = std::iter::from_fn(|| house.writer.post(publish("a", None)).ok()).count();
    let post = |change| house.writer.post(ChangeMqttSession { id, change });
    let event = OutgoingEvent { position: Position::new(1), is_from_before: false };
    let note = Outgoing { id: NonZeroU16::MIN, event, state: OutgoingState::SentOnce };
    let subscribe = MqttSessionChange::Subscribe(Vec::new());
    assert!(post(subscribe).is_err(), "a client can be told of that");
    let noted = post(MqttSessionChange::NoteOutgoing(vec![note], (Position::new(1), MqttAsked::default()))).unwrap();
    let saved = post(MqttSessionChange::Save(MqttProgress::at(Position::new(1)))).unwrap();
    let ended = post(MqttSessionChange::End(MqttProgress::default(), None, WillFate::Now)).unwrap();
    drop(go);
    outcomes.remove(0).await.unwrap();
    assert!(inserts > 1000 && noted.await.unwrap() && saved.await.unwrap() && ended.await.unwrap());
    assert!(house.store.mqtt_session(id).unwrap().unwrap().head.ended_at.is_some());
}

#[tokio::test]
async fn a_session_that_is_lost_again_while_its_first_end_is_answered_is_ended_again() {
    let house = House::new();
    let id = house.begin_anew(connect("phone")).await;
    let is_ended = || house.store.mqtt_session(id).unwrap().unwrap().head.ended_at.is_some();
    let (go, wait) = std::sync::mpsc::channel();
    let held = house.writer.post(Hold(wait)).unwrap();
    house.store.mqtt_cursors().lose(id);
    let is_lost_again = std::cell::Cell::new(false);
    let lose_again = async {
        // By then maintenance has asked for the end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut back = house.writer.post(connect("phone")).unwrap();
        drop((go, held));
        // Maintenance has this thread, so it does not know yet what it has done.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while std::pin::Pin::new(&mut back).poll(&mut context).is_pending() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!is_ended());
        house.store.mqtt_cursors().lose(id);
        is_lost_again.set(true);
    };
    tokio::join!(lose_again, house.maintained(1000, |_| is_lost_again.get() && is_ended()));
}
