//! Modules whose fuel is limited.

use capability::statements::Ended;
use capability::{Runtime, Step};

use crate::support::{Broker, is_offered, report_in, start};

#[tokio::test(flavor = "multi_thread")]
async fn fuel_is_counted_alike_over_all_steps_until_there_is_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let short = r#"(module (func (export "_start") (local i32)
        (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))))"#;
    let endless = r#"(module (func (export "_start") (loop (br 0))))"#;
    let [short, endless] = [short, endless].map(|text| wat::parse_str(text).unwrap());
    let step = |name: &str, module: &str| Step { name: name.into(), run: vec![module.into()] };
    let steps = vec![
        step("compiled", "short.wasm"),
        step("cached", "short.wasm"),
        step("endless", "endless.wasm"),
        step("never", "short.wasm"),
    ];
    let files: [(&str, &[u8]); 2] = [("short.wasm", &short), ("endless.wasm", &endless)];
    let mut broker = Broker::start(Runtime::Wasm, steps, &files).await;
    broker.change_job(|job| job.limits.fuel = Some(100_000));
    let _daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "wasm") {
        return broker.expect_no_claim().await;
    }

    let (_, result) = broker.serve().await;

    let report = report_in(&result);
    assert_eq!(report.ended, Ended::Limit("fuel".into()), "{:?}", report.steps);
    let [compiled, cached, endless] = report.steps.as_slice() else { panic!("three ran") };
    let used = compiled.fuel.unwrap();
    assert!((1_000..50_000).contains(&used), "{used}");
    assert_eq!((cached.fuel, &cached.log), (Some(used), &compiled.log));
    assert_eq!(endless.fuel, Some(100_000 - 2 * used));
    assert_eq!(
        (endless.exit, endless.ending.as_str()),
        (None, "it used all the fuel that the job may")
    );
}
