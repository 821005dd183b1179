//! What the programs of the size table share.

use core::hint::spin_loop;

/// The allocator and the end of a program of the size table.
#[macro_export]
macro_rules! size_program {
    () => {
        #[global_allocator]
        static HEAP: $crate::heap::Heap = $crate::heap::Heap::new();
        static MEMORY: static_cell::ConstStaticCell<[u8; 24 * 1_024]> =
            static_cell::ConstStaticCell::new([0; 24 * 1_024]);

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::program::halt()
        }
    };
}

/// Does nothing more.
pub fn halt() -> ! {
    loop {
        spin_loop();
    }
}
