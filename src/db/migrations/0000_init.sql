CREATE TABLE `blobs` (
	`digest` text PRIMARY KEY NOT NULL,
	`size_bytes` integer NOT NULL,
	`media_type` text NOT NULL,
	`created_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `containers` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`image_id` text NOT NULL,
	`status` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`record` text NOT NULL,
	`life` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `containers_name_unique` ON `containers` (`name`);--> statement-breakpoint
CREATE INDEX `containers_image` ON `containers` (`image_id`);--> statement-breakpoint
CREATE TABLE `facts` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `image_blobs` (
	`image_id` text NOT NULL,
	`digest` text NOT NULL,
	PRIMARY KEY(`image_id`, `digest`),
	FOREIGN KEY (`image_id`) REFERENCES `images`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`digest`) REFERENCES `blobs`(`digest`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `image_blobs_digest` ON `image_blobs` (`digest`);--> statement-breakpoint
CREATE TABLE `image_layers` (
	`image_id` text NOT NULL,
	`position` integer NOT NULL,
	`diff_id` text NOT NULL,
	PRIMARY KEY(`image_id`, `position`),
	FOREIGN KEY (`image_id`) REFERENCES `images`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`diff_id`) REFERENCES `layers`(`diff_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `image_layers_diff` ON `image_layers` (`diff_id`);--> statement-breakpoint
CREATE TABLE `images` (
	`id` text PRIMARY KEY NOT NULL,
	`created_at_ms` integer NOT NULL,
	`size_bytes` integer NOT NULL,
	`record` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `layers` (
	`diff_id` text PRIMARY KEY NOT NULL,
	`short_name` text NOT NULL,
	`size_bytes` integer NOT NULL,
	`blob` text,
	`created_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `layers_short_name_unique` ON `layers` (`short_name`);--> statement-breakpoint
CREATE TABLE `networks` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`driver` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`record` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `networks_name_unique` ON `networks` (`name`);--> statement-breakpoint
CREATE TABLE `tags` (
	`reference` text PRIMARY KEY NOT NULL,
	`image_id` text NOT NULL,
	`updated_at_ms` integer NOT NULL,
	FOREIGN KEY (`image_id`) REFERENCES `images`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `tags_image` ON `tags` (`image_id`);--> statement-breakpoint
CREATE TABLE `volumes` (
	`name` text PRIMARY KEY NOT NULL,
	`driver` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	`record` text NOT NULL
);
